"""What can be said of a caption without a model: characters, words, patterns, parts of speech."""
