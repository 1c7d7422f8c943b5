"""The caches of other libraries, with one of ragopt's behind them."""
