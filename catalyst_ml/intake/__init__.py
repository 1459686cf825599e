"""Where data come in from elsewhere: readers of the market room, imports of the store, one after the other."""
