"""Side-by-side measurements. Each times two things in turn in one run and prints the ratio beside its target."""
