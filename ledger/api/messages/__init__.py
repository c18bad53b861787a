"""Messages to values and back: fields checked, usage and commands decoded, entries encoded.

Knows the protos, the books' values and pricing's items; not what a call does with them.
"""
