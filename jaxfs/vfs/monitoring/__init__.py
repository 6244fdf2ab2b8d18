"""What the mount shows of itself: errors, metrics and a trace."""
