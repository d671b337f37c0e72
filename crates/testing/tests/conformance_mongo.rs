testing::conformance!(testing::conformance::OnMongo);
testing::conformance_on_kafka!(testing::conformance::OnMongo);
