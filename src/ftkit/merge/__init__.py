"""An adapter put into its base's weights, the whole saved, and loaded again in a fresh process to be compared."""
