"""Models: families of encoders; each returns features and knows neither objective nor trainer."""
