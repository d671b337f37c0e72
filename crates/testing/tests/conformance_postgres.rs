testing::conformance!(testing::conformance::OnPostgres);
