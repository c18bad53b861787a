"""The two metrics ports: operations, without a dollar, and finance."""
