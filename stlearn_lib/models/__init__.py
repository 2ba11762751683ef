"""Networks: tensors in, tensors out; they know no loss and no data."""
