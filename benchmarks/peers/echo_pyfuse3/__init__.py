"""An echo filesystem on pyfuse3 and trio, as jaxfs uses them."""
