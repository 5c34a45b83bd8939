"""What is said to Redis, and what the replies mean. No I/O happens in here."""
