"""The deployed half of the system, run on this machine as far as its contracts run anywhere: a rehearsal.

The functions are the built bundle under AWS's own runtime client; profiles are in DynamoDB Local, vectors in a real
OpenSearch; S3, Firehose and Secrets Manager are moto's server, which botocore signs for and parses as it does for AWS.
What none of these is, CPU shares, IAM, networks, is not rehearsed. `tandem aws rehearse-serving` and the tests call it.
"""
