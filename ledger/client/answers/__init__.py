"""What the client answers: immutable values of what the service sent, by what they are of.

Amounts of credits stand twice, as exact decimals and in micro-credits (`held` is `held_micros` / 1,000,000).
Instants are of UTC. Nothing here calls the service: each value is made of its message.
"""
