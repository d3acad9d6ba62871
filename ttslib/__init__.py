"""Give a text-to-speech system a new language."""
