"""Where every byte of a fine-tuning goes, will it fit, what does it cost: arithmetic on a config given as a dict."""
