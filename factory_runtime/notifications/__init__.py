"""How people are told: Apprise for services outside, and a log of our own."""
