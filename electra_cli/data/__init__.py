"""From corpus to batches: documents, segments, shards, order, masks. The only place that knows pyarrow."""
