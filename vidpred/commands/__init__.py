"""The commands of the `vidpred` command line."""
