use super::*;

fn encoder(wish: Wish, there: bool) -> Result<(Encoder, String), String> {
    let hardware = if there { Ok("/dev/video11, coda".to_owned()) } else { Err("there is none".to_owned()) };
    for_pictures(wish, hardware).map(|choice| (choice.encoder, choice.why))
}

#[test]
fn a_cameras_own_h264_is_taken_unless_something_else_is_wanted_or_it_must_be_mirrored() {
    use Wish::{Auto, Hardware, Passthrough, Software};
    assert_eq!(of_node(Auto, false), Ok(Encoded::Preferred));
    assert_eq!(of_node(Passthrough, false), Ok(Encoded::Only));
    assert!(of_node(Passthrough, true).is_err_and(|why| why.contains("hflip") && why.contains("auto")));
    for (wish, mirrored) in [(Auto, true), (Hardware, false), (Hardware, true), (Software, false)] {
        assert_eq!(of_node(wish, mirrored), Ok(Encoded::Never));
    }
}

#[test]
fn the_boards_encoder_is_taken_where_there_is_one_and_else_why_not_is_said() {
    let board = Ok((Encoder::Hardware, "/dev/video11, coda".to_owned()));
    assert_eq!(encoder(Wish::Auto, true), board);
    assert_eq!(encoder(Wish::Hardware, true), board);
    assert_eq!(encoder(Wish::Software, true), Ok((Encoder::Software, "as configured".to_owned())));
    assert_eq!(encoder(Wish::Auto, false), Ok((Encoder::Software, "there is none".to_owned())));
}

#[test]
fn a_wish_that_cannot_be_met_is_said() {
    for (wish, word) in [(Wish::Hardware, "\"hardware\""), (Wish::Passthrough, "\"passthrough\"")] {
        assert!(encoder(wish, false).is_err_and(|why| why.contains(word) && why.contains("auto")));
    }
}
