"""The S3 store: the embedded server, releases, aliases and how accepted variants get there.

Any S3 works; without one of your own, a SeaweedFS server on the loopback interface is started when it is needed.
Nothing here imports torch.
"""
