"""Sources of batches beside the one of epochs, :class:`trainer.data.views.Views`."""
