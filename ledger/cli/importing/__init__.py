"""Customers and opening grants of another system, row by row from a file into the books."""
