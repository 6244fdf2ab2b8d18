"""What is made of a run: targets, tables for people, JSON for programs."""
