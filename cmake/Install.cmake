# Install rules and the exported package live with the targets they install; this file is completed with the C++ client.
