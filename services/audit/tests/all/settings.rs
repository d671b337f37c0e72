use audit::config::Config;
use chassis::settings::describe;

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in describe(Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}
