"""The JPEG decoder of this project: baseline bodies to small planes, faster than any decoder that decodes first."""
