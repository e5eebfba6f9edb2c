//! Stories in virtual time: the peer writes datagrams, the endpoint answers, the clock jumps to the next deadline.

mod answering;
mod authenticating;
mod calling;
mod contact;
mod in_dialog;
mod provisional;
mod random;
mod referring;
mod refresh;
mod replacing;
mod requests;
mod routing;
mod streams;
mod upstream;
