testing::conformance!(testing::conformance::OnMongo);
