"""Where rows come from: folders, manifests, a user's reader; and manifests written."""
