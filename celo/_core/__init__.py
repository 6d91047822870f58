"""What the learned optimizers share: averages, features, networks, schedulers. Private."""
