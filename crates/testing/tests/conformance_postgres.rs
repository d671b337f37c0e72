testing::conformance!(testing::conformance::OnPostgres);
testing::conformance_on_kafka!(testing::conformance::OnPostgres);
