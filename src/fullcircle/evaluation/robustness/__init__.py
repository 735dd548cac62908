"""What the robustness check is made of: spoilt inputs, and what becomes of them."""
