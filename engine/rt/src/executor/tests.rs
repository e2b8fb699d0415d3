use super::*;

#[test]
fn a_task_has_room_for_its_future_once() {
    let room = [1_u8; 10_000];
    let future = async move {
        yield_now().await;
        room[0]
    };
    let bytes = size_of_val(&future);
    let state = Rc::new(RefCell::new(JoinState { output: None, waiter: None }));
    assert!(bytes >= 10_000 && size_of_val(&task(future, state)) < bytes + 100);
}
