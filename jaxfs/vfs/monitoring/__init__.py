"""What the mount shows of itself: errors, metrics, a trace."""
