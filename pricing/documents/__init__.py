"""Reading what people write in YAML: with its place in the file, and every problem at once.

Knows exact decimals alone: what a document means is said by `costs` and `cards`.
"""
