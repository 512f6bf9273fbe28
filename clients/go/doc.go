// Package anabranch is a client of Anabranch clusters: it writes to streams, reads them, and reads them together with
// other programs in consumer groups. It speaks the native gRPC API.
//
//	client, err := anabranch.Connect(ctx, []string{"10.0.0.1:4568"})
//	producer, err := client.NewProducer(ctx, "clicks")
//	future, err := producer.Put(ctx, "user-1", data)
//	result, err := future.Wait(ctx)
//
// [Connect] begins with a [Client]. A [Producer] writes, a [Reader] reads a whole stream or one shard, and a [Group]
// shares the shards of a stream among the members of a consumer group and stores how far they are processed.
//
// # Order
//
// A partition key selects a shard. The records of one key are stored and read in the order in which they were put, also
// across splits and merges: a shard is read after its parents.
//
// # Delivery
//
// A record that has got its [Result] is on the disks of a majority of the replicas, once. [Producer.Put] lists the
// other endings. A [Reader] returns each record once. A [Group] delivers at least once: after a change of the owner,
// records after the last checkpoint come again.
//
// # Errors
//
// Compare with the Err values by errors.Is. [InvalidError] is to be found by errors.As, and names the field and the
// rule. The errors of a context are wrapped as they are.
package anabranch
