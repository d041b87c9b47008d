"""A blinded study: people or rules compare pools without knowing what made them."""
