"""The versions of prices as a process holds them, and the terms in force for a customer at an instant.

Knows the store's versions, pricing and the books' plans; not who publishes, and no customer's wallet.
"""
