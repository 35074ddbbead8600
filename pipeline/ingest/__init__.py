"""Read published lists and fetch their media: list -> candidates -> raw tars."""
