"""What the check for leaks is made of: one question each."""
