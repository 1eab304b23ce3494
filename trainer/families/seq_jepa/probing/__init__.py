"""What is measured of seq-JEPA. Nothing here touches the model's optimiser, gradients or statistics."""
