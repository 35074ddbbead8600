"""What is done to a body once it is here: told by its bytes, measured, decoded, turned upright, resized, encoded."""
