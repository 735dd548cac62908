"""Development: from a project file and a frame to a fitted model and the contract of its inputs."""
