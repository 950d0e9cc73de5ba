"""The networks: autoencoder, mean (history and support), velocity, and the forecaster made of them."""
