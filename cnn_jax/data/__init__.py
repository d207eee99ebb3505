"""From files to batches; the only part, with the TensorBoard writer, that knows TensorFlow."""
