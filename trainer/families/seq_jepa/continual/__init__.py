"""seq-JEPA on a stream: what stays of earlier segments, and how it is measured."""
