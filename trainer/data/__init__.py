"""The data side: images, their transformation into views, and the actions between views."""
