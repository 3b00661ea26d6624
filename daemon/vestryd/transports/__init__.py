"""The wire itself: adapters that put the pipeline on a transport."""
