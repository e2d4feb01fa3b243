"""The image and the compose files, tried on a real engine: `make docker`, or engine.sh with a pytest of your own."""
