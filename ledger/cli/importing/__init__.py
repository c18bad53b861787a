"""Customers and opening grants of another system, row by row from a file into the books.

Knows the API's messages and calls the back office as every client does: a row is one request, by its id.
"""
