"""The basic transforms, and the pixel functions behind them."""
